"""Plan a job's transfers: seconds of a message on the slowest line, and the time-outs that follow from them."""
