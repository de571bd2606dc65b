"""What a firewall's rules do to one incoming packet. Pure, best effort: what is not understood is `unknown`."""
