filter udp header:(byte#12 0x800~2 byte#9 17 byte#2) address:(192 168 1 byte) tail:* => header 0#4 tail;
