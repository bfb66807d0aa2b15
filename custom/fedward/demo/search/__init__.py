"""Search for a job's settings in the simulator: ``override`` changes them, ``halving`` chooses, ``run`` tries them."""
