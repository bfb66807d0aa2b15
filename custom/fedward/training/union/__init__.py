"""Train one model over the union of all hospitals' patients: each makes the same steps from the sum of gradients."""
