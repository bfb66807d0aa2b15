"""Local training at a site: networks, optimizer steps, FedProx."""
