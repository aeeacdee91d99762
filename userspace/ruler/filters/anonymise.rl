// Makes traces that may be shown to others: addresses keep their structure, MAC addresses and payload go, sizes stay,
// checksums are right. It needs a key: the same key gives an address the same new one in every trace.
include "layouts.rli"

filter anonymise
  e:Ethernet_IPv4 i:IPv4_TCP with [ihl=5~4b] t:TCP p:*
    => e with [dst=0#6, src=0#6]
       i with [src=prefix_anon(i.src), dst=prefix_anon(i.dst), csum=ipv4_csum()]
       t with [csum=tcp_csum(i)] zero(p) class 6;
  e:Ethernet_IPv4 i:IPv4_UDP with [ihl=5~4b] u:UDP p:*
    => e with [dst=0#6, src=0#6]
       i with [src=prefix_anon(i.src), dst=prefix_anon(i.dst), csum=ipv4_csum()]
       u with [csum=udp_csum(i)] zero(p) class 17;

  // Whatever else IPv4 carries, later fragments too, is payload from the first byte on.
  e:Ethernet_IPv4 i:IPv4 with [ihl=5~4b] p:*
    => e with [dst=0#6, src=0#6]
       i with [src=prefix_anon(i.src), dst=prefix_anon(i.dst), csum=ipv4_csum()] zero(p);
  e:Ethernet_IPv6 i:IPv6 p:*
    => e with [dst=0#6, src=0#6] i with [src=prefix_anon(i.src), dst=prefix_anon(i.dst)] zero(p);

  // No rule for the rest: it is rejected, as options and unknown protocols may hold addresses.
