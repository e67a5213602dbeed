"""What twistd offers: the lines that name our services, and nothing else.

Every `twistd` on the machine imports this module, so the services load only when they are run.
"""

from twisted.application.service import ServiceMaker

porttunnel_server = ServiceMaker(
    name="porttunnel server",
    module="porttunnel.services.server",
    description="Tunnel server and gateway: carries sealed packets past firewalls.",
    tapname="porttunnel-server",
)

porttunnel_broker = ServiceMaker(
    name="porttunnel broker",
    module="porttunnel.services.broker",
    description="MQTT broker: 3.1.1 and 5, over TCP, TLS and WebSocket.",
    tapname="porttunnel-broker",
)

porttunnel_agent = ServiceMaker(
    name="porttunnel agent",
    module="porttunnel.services.agent",
    description="Agent: makes a web system behind a firewall usable for paired devices.",
    tapname="porttunnel-agent",
)
