// Rejects packets that carry the marks of known backdoors, worms and attacks on web servers; all else passes.
// The code of the rejection says which kind, and the counters of `octroi stats` count each rule.
//
// What it finds is old and public, and what it does not find is most of what is around: it shows how such a filter is
// written, and it is no protection. A mark that is split over two segments is not found, nor is one under TLS.
//
// All marks of one kind of traffic are one rule: after a hit there is nothing left to tell apart, so the automaton is
// small and stops reading. A mark of fewer than four bytes stands only where the whole message is known.
include "layouts.rli"

filter signatures
  // ---- 1: Back Orifice, the first packet of a session under its own key
  Ethernet_IPv4 IPv4_UDP UDP with [dest=31337~2] hex"ce 63 d1 d2 16 e7 13 cf" * => reject 1;

  // ---- 2: SQL Slammer
  Ethernet_IPv4 IPv4_UDP UDP with [dest=1434~2] 4 * hex"dc c9 b0 42" * => reject 2;

  // ---- 3: requests to web servers
  Ethernet_IPv4 IPv4_TCP TCP with [dest=80~2|8080~2] * (
      // worms: Code Red, Nimda, Santy, Lupper, Slapper
      "cmd.exe"i | "root.exe"i | "/default.ida?"i | "%u9090%u6858"i | "/scripts/..%c0%af"i | "/scripts/..%c1%1c"i
    | "/_vti_bin/..%255c"i | "/_mem_bin/..%255c"i | "/msadc/..%255c"i | "readme.eml"i | "&highlight=%2527"i
    | "awstats.pl?configdir="i | "mod_ssl:error:HTTP-request"
      // out of the document tree
    | "../../../" | "..\\..\\..\\" | "..%2f..%2f"i | "..%5c..%5c"i | "%2e%2e/%2e%2e/"i | "/cgi-bin/.%2e/"i
    | "/etc/passwd" | "/etc/shadow" | "/proc/self/environ" | "boot.ini"i | "win.ini"i
      // scripts of the first decade
    | "/cgi-bin/phf?" | "/cgi-bin/test-cgi" | "/cgi-bin/php.cgi" | "/cgi-bin/campas?" | "/cgi-bin/htmlscript?"
    | "/cgi-bin/aglimpse" | "/cgi-bin/webdist.cgi" | "/cgi-bin/handler/" | "/cgi-bin/nph-test-cgi"
    | "/_vti_pvt/service.pwd"i | "/iisadmpwd/"i | "/msadc/msadcs.dll"i | "+.htr"i | "::$DATA"i | "/null.printer"i
      // questions to the database
    | "union select"i | "union all select"i | "union+select"i | "union%20select"i | "' or '1'='1"i | "'%20or%20'1"i
    | "information_schema"i | "xp_cmdshell"i | "waitfor delay"i | "into outfile"i | "load_file("i | "benchmark("i
      // scripts for other people's browsers
    | "<script>alert("i | "%3cscript%3e"i | "javascript:alert("i | "onerror=alert("i | "document.cookie"i
      // commands: Shellshock, Log4Shell, Struts, Spring, PHP
    | "() { :;}" | "() { :; }" | "${jndi:"i | "#_memberAccess" | "%{(#" | "class.module.classLoader"i
    | "allow_url_include"i | "auto_prepend_file"i | "php://input"i | "php://filter"i | "data://text/plain;base64"i
    | "expect://"i | "/eval-stdin.php"i | "base64_decode("i | ";wget http"i | "wget+http"i | "/shell?cd+/tmp"
      // pages left behind by intruders
    | "c99shell"i | "r57shell"i | "b374k"i | "FilesMan" | "z0=QGluaV9zZXQ"
      // boxes at home, and what Mirai's heirs ask of them
    | "/HNAP1/"i | "/setup.cgi?next_file=netgear.cfg" | "/GponForm/diag_Form?images/" | "/boaform/admin/formLogin"i
    | "/tmUnblock.cgi"i | "/cgi-bin/luci/;stok=/locale"
      // machines of companies
    | "/jmx-console/HtmlAdaptor"i | "/invoker/JMXInvokerServlet"i | "/vpn/../vpns/" | "/remote/fgt_lang?lang=/../"
    | "/dana-na/../dana/" | "/tmui/login.jsp/..;/" | "/mgmt/tm/util/bash" | "/actuator/gateway/routes"
    | "/autodiscover/autodiscover.json?@"i
      // files that nobody should be able to fetch
    | "/.git/config" | "/.env HTTP" | "/.aws/credentials" | "/wp-config.php~"i | "/phpmyadmin/scripts/setup.php"i
      // those who only look
    | "sqlmap/"i | "(Nikto/"i | "masscan/"i | "ZmEu" | "w00tw00t.at." | "Morfeus"i | "DirBuster"i
    ) * => reject 3;

  // ---- 4: worms that come by mail
  Ethernet_IPv4 IPv4_TCP TCP with [dest=25~2|587~2] * (
      "LOVE-LETTER-FOR-YOU.TXT.vbs"i | "AnnaKournikova.jpg.vbs"i | "kindly check the attached LOVELETTER"i
    | "Important Message From "i | "movie0045.pif"i | "your_details.pif"i | "wicked_scr.scr"i | "happy99.exe"i
    | "pretty park.exe"i | "Snow White and the Seven Dwarfs - The REAL story"i
    ) * => reject 4;

  // ---- 5: worms that guess passwords, on telnet
  Ethernet_IPv4 IPv4_TCP TCP with [dest=23~2|2323~2] * (
      "/bin/busybox MIRAI" | "/bin/busybox ECCHI" | "/bin/busybox SATORI" | "/bin/busybox MASUTA"
    | "/bin/busybox OWARI" | "/bin/busybox SORA" | "/bin/busybox HAKAI" | "listening tun0"
    ) * => reject 5;

  // ---- 6: worms on Windows: EternalBlue, Blaster, Sasser, MyDoom's back door, Witty, Welchia's ping
  Ethernet_IPv4 IPv4_TCP TCP with [dest=445~2] * hex"ff 53 4d 42 33 00 00 00 00 18 07 c0 00 00" * => reject 6;
  Ethernet_IPv4 IPv4_TCP TCP with [dest=135~2|4444~2|9996~2] * (
      "msblast.exe"i | "teekids.exe"i | "mslaugh.exe"i | "avserve.exe"i | "avserve2.exe"i | "_up.exe"i
    | "LOVE YOU SAN!!" | "billy gates why do you make this possible"
    ) * => reject 6;
  Ethernet_IPv4 IPv4_UDP UDP with [dest=69~2] 0 1 ("msblast.exe"i | "teekids.exe"i | "mslaugh.exe"i) * => reject 6;
  Ethernet_IPv4 IPv4_TCP TCP with [dest=3127..3198~2] hex"85 13 3c 9e a2" * => reject 6;
  Ethernet_IPv4 IPv4_UDP UDP with [sport=4000~2] * "insert witty message here" * => reject 6;
  Ethernet_IPv4 IPv4_ICMP ICMP with [type=8] 0xaa#64 * => reject 6;

  // ---- 7: the names that WannaCry and its kin ask for, before they go on
  Ethernet_IPv4 IPv4_UDP UDP with [dest=53~2] * (
      "iuqerfsodp9ifjaposdfjhgosurijfaewrwergwea"i | "ifferfsodp9ifjaposdfjhgosurijfaewrwergwea"i
    | "ayylmaotjhsstasdfasdfasdfasdfasdfasdfasdf"i
    ) * => reject 7;

  // ---- 8: tools that flood others on command: trinoo, Stacheldraht, shaft, mstream
  Ethernet_IPv4 IPv4_UDP UDP with [dest=27444~2] * "l44adsl" * => reject 8;
  Ethernet_IPv4 IPv4_UDP UDP with [dest=31335~2] ("*HELLO*" | "PONG" | "l44") * => reject 8;
  Ethernet_IPv4 IPv4_TCP TCP with [dest=27665~2] * ("betaalmostdone" | "gOrave" | "killme") * => reject 8;
  Ethernet_IPv4 IPv4_ICMP ICMP with [type=0] * ("skillz" | "spoofworks" | "gesundheit!") * => reject 8;
  Ethernet_IPv4 IPv4_UDP UDP with [dest=18753~2] "alive tijgu" * => reject 8;
  Ethernet_IPv4 IPv4_UDP UDP with [dest=20433~2] "alive" * => reject 8;
  Ethernet_IPv4 IPv4_UDP UDP with [dest=10498~2] ("stream/" | "newserver" | "ping" | "pong") * => reject 8;

  // ---- 9: back doors that answer: the server's first words
  Ethernet_IPv4 IPv4_TCP TCP with [sport=12345~2|12346~2|20034~2] "NetBus" * => reject 9;
  Ethernet_IPv4 IPv4_TCP TCP with [sport=27374~2|1243~2] "connected. " * => reject 9;
  Ethernet_IPv4 IPv4_UDP UDP with [sport=2140~2|3150~2] * "My Mouth Is Open" * => reject 9;
  Ethernet_IPv4 IPv4_TCP TCP with [sport=21554~2] * "GirlFriend"i * => reject 9;
  Ethernet_IPv4 IPv4_TCP TCP with [sport=30100..30102~2] "NetSphere" * => reject 9;
  Ethernet_IPv4 IPv4_TCP TCP with [sport=6969~2] * "GateCrasher" * => reject 9;
  Ethernet_IPv4 IPv4_TCP TCP with [sport=666~2] "Remote: You are connected to me." * => reject 9;
  Ethernet_IPv4 IPv4_TCP TCP with [sport=555~2] * "phAse Zero" * => reject 9;
  Ethernet_IPv4 IPv4_TCP TCP with [sport=1015~2] * "Wtzup Use" * => reject 9;
  Ethernet_IPv4 IPv4_UDP UDP with [sport=3344~2|3345~2] "activate" * => reject 9;

  * => accept;
