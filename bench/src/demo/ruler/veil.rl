// Before an echo: its answer has other addresses, which still show who is near whom, and no payload. What the shipped
// filter `anonymise` does, but for MAC addresses: nothing is answered to whoever has none.
include "layouts.rli"

filter veil
  e:Ethernet_IPv4 i:IPv4_UDP with [ihl=5~4b] u:UDP p:*
    => e i with [src=prefix_anon(i.src), dst=prefix_anon(i.dst), csum=ipv4_csum()] u with [csum=udp_csum(i)] zero(p)
       class 17;
