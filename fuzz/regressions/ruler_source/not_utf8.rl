filter f "ÿş\x00" * => accept; € * => reject 70000;
