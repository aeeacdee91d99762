// Says what a frame carries and changes nothing. The code goes to the next stage, and to applications as the class of
// their descriptor: 10 ARP, 20 IPv4, 30 IPv6, the last digit what is inside; 100 more behind one VLAN tag, 200 more
// behind two; 0 for all else.
include "layouts.rli"

pattern Plain_IPv4  : Ethernet_IPv4 ;
pattern Tagged_IPv4 : Ethernet_VLAN VLAN_IPv4 ;
pattern Plain_IPv6  : Ethernet_IPv6 ;
pattern Tagged_IPv6 : Ethernet_VLAN VLAN_IPv6 ;
// A tag behind a tag: the outer one says 0x8100 or 0x88a8 as well.
pattern Stacked     : Ethernet_VLAN VLAN with [proto=0x8100~2|0x88a8~2] ;

// Extension headers that may stand before what IPv6 carries: hop-by-hop options, routing, destination options.
pattern Extended_TCP    : IPv6 with [next=0|43|60] IPv6_Ext with [next=6] ;
pattern Extended_UDP    : IPv6 with [next=0|43|60] IPv6_Ext with [next=17] ;
pattern Extended_ICMPv6 : IPv6 with [next=0|43|60] IPv6_Ext with [next=58] ;

filter classify
  Ethernet_ARP ARP with [op=1~2] *                       => accept 11;   // who has
  Ethernet_ARP ARP with [op=2~2] *                       => accept 12;   // is at
  Ethernet_ARP *                                         => accept 10;
  Plain_IPv4 IPv4_ICMP ICMP *                            => accept 21;
  Plain_IPv4 IPv4_TCP TCP *                              => accept 26;
  Plain_IPv4 IPv4_UDP UDP *                              => accept 27;
  Plain_IPv4 IPv4_Fragment *                             => accept 29;   // a later fragment: no ports
  Plain_IPv4 *                                           => accept 20;
  // Neighbour discovery, types 133 to 137, is to IPv6 what ARP is to IPv4.
  Plain_IPv6 IPv6_ICMPv6 ICMPv6 with [type=133..137] *   => accept 32;
  Plain_IPv6 (IPv6_ICMPv6 | Extended_ICMPv6) ICMPv6 *    => accept 31;
  Plain_IPv6 (IPv6_TCP | Extended_TCP) TCP *             => accept 36;
  Plain_IPv6 (IPv6_UDP | Extended_UDP) UDP *             => accept 37;
  Plain_IPv6 IPv6 with [next=44] *                       => accept 39;   // a fragment
  Plain_IPv6 *                                           => accept 30;

  Ethernet_VLAN VLAN_ARP ARP with [op=1~2] *             => accept 111;
  Ethernet_VLAN VLAN_ARP ARP with [op=2~2] *             => accept 112;
  Ethernet_VLAN VLAN_ARP *                               => accept 110;
  Tagged_IPv4 IPv4_ICMP ICMP *                           => accept 121;
  Tagged_IPv4 IPv4_TCP TCP *                             => accept 126;
  Tagged_IPv4 IPv4_UDP UDP *                             => accept 127;
  Tagged_IPv4 IPv4_Fragment *                            => accept 129;
  Tagged_IPv4 *                                          => accept 120;
  Tagged_IPv6 IPv6_ICMPv6 ICMPv6 with [type=133..137] *  => accept 132;
  Tagged_IPv6 (IPv6_ICMPv6 | Extended_ICMPv6) ICMPv6 *   => accept 131;
  Tagged_IPv6 (IPv6_TCP | Extended_TCP) TCP *            => accept 136;
  Tagged_IPv6 (IPv6_UDP | Extended_UDP) UDP *            => accept 137;
  Tagged_IPv6 IPv6 with [next=44] *                      => accept 139;
  Tagged_IPv6 *                                          => accept 130;

  Stacked VLAN_ARP *                                     => accept 210;
  Stacked VLAN_IPv4 *                                    => accept 220;
  Stacked VLAN_IPv6 *                                    => accept 230;

  Ethernet_VLAN VLAN *                                   => accept 100;
  *                                                      => accept;
