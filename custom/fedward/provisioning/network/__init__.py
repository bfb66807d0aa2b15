"""What a site asks of the network before it joins: names, ports, and the server's health."""
