// Keeps the request line, and the headers before it, of each HTTP request, as a packet that any tool can read.
// The rest of the traffic is rejected. A request line that is split over two segments is not found.
include "layouts.rli"

filter http_only
  e:Ethernet_IPv4 i:IPv4_TCP t:TCP with [dest=80~2] req:(("GET " | "POST " | "HEAD ") * hex"0d 0a") *
    => e i with [len=len(i, t, req), csum=ipv4_csum()] t with [csum=tcp_csum(i)] req class 80;
