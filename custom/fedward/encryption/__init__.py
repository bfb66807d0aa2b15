"""The secure sum: bounded numbers at each hospital -> their sum, by a server that reads none of them."""
