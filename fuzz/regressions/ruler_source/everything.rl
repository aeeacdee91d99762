#! ruler
include "layouts.rli"
pattern P : v:4~4b f:bit#4 | (a:bit#4 b:bit#4) data:byte#(b*4-20) ;
filter f e:P#2..3 ip6"2001:db8::"/32 192.168.1.0/24 !(1..5 | 7/7) "GET \"" hex"0d 0a" * => accept 3;
  x:Ethernet with [proto=80~2|0x800~2] * => x with [src=mac"02:00:00:00:00:01"] zero(x) 0#4 class 7;
