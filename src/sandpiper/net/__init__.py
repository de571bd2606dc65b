"""Getting bytes from peer to peer: links, the LAN's beacons, dialling. The only place that maps `OSError`."""
