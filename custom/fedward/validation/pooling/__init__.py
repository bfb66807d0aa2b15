"""Statistics over all hospitals' patients, from sums of counts that no server reads site by site."""
