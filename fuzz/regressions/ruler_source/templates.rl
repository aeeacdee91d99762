include "layouts.rli"
filter www
  eh:Ethernet_IPv4 ih:IPv4_TCP th:TCP with [dest=80~2] p:*
  => eh with [e_dest=0#6,e_src=0#6] ih with [src=0~4,dest=0~4] th p;
