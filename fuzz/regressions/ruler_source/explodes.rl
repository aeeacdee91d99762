filter f * "a" byte#30 "b" byte#29 => reject 1; * => accept;
