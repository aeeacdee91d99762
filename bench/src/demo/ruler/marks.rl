// Two filters that differ in one byte: what comes to the echo gets the mark of the one that judged it.
include "layouts.rli"

filter a
  e:Ethernet_IPv4 i:IPv4_UDP u:UDP with [dest=7~2] byte rest:* => e i u with [csum=udp_csum(i)] "A" rest class 1;
  * => accept;

filter b
  e:Ethernet_IPv4 i:IPv4_UDP u:UDP with [dest=7~2] byte rest:* => e i u with [csum=udp_csum(i)] "B" rest class 2;
  * => accept;
