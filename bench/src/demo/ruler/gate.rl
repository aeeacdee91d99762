// The filter of the demo's interface: it judges every packet that comes in, whoever it is for.
include "layouts.rli"

filter gate
  // Headers decide: these two end in XDP. The first would have been the OS stack's, the second the sink's.
  Ethernet_IPv4 IPv4_UDP UDP with [dest=5001~2] * => reject 1;
  Ethernet_IPv6 IPv6_UDP UDP with [dest=9~2] * => reject 2;

  // The payload decides: a worker goes on where XDP stopped.
  Ethernet_IPv4 IPv4_UDP UDP with [dest=9~2] * "/etc/passwd" * => reject 3;

  // Of what comes to the echo, the first line goes on.
  e:Ethernet_IPv4 i:IPv4_UDP u:UDP with [dest=7~2] line:(* "\r\n") *
    => e i with [len=len(i, u, line), csum=ipv4_csum()] u with [len=len(u, line), csum=udp_csum(i)] line class 4;

  * => accept 5;
