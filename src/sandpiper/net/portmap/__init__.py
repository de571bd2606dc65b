"""Has the router pass a port of ours on to us: finds it, asks it by PCP, NAT-PMP or UPnP, and keeps it so.

    mapping = PortMapping(port, tasks, partial(find_gateway, interfaces), changed)
    mapping.want(True)
    …
    mapping.mapped, mapping.reason
    await mapping.close()

Nothing is ever sent but to the default gateway of an interface in use, and to the SSDP group there.
"""

from sandpiper.net.portmap.gateway import Gateway, NoGateway, find_gateway
from sandpiper.net.portmap.keeping import PortMapping, Times
from sandpiper.net.portmap.ways import Offer, offers_of

__all__ = ["Gateway", "NoGateway", "Offer", "PortMapping", "Times", "find_gateway", "offers_of"]
