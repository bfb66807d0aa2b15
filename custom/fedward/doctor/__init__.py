"""What hospital IT asks before it calls anyone, and the operator of the server: is it sound, and if not, what to do."""
