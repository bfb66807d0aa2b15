"""What hospital IT asks before it calls anyone: is this site sound, and if not, what is to be done."""
