/**
 * Ports of well-known services, for where the network database has none.
 *
 * Layer: net, a leaf. The names are Plan 9's and IANA's. Plan 9's own stand in `/lib/ndb/common`.
 */

/** Service, its port by TCP, its port by UDP; 0: not by that. */
const SERVICES: readonly (readonly [names: string, tcp: number, udp: number])[] = [
  ["echo", 7, 7],
  ["discard", 9, 9],
  ["systat", 11, 0],
  ["daytime", 13, 13],
  ["netstat", 15, 0],
  ["chargen source", 19, 19],
  ["ftp-data", 20, 0],
  ["ftp", 21, 0],
  ["ssh", 22, 0],
  ["telnet", 23, 0],
  ["smtp", 25, 0],
  ["time", 37, 37],
  ["whois", 43, 0],
  ["dns domain", 53, 53],
  ["bootp bootps", 0, 67],
  ["bootpc", 0, 68],
  ["tftp", 0, 69],
  ["gopher", 70, 0],
  ["finger", 79, 0],
  ["http", 80, 0],
  ["pop3", 110, 0],
  ["sunrpc portmap", 111, 111],
  ["auth ident", 113, 0],
  ["nntp", 119, 0],
  ["ntp", 0, 123],
  ["imap imap4", 143, 0],
  ["snmp", 0, 161],
  ["bgp", 179, 0],
  ["https", 443, 443],
  ["smtps", 465, 0],
  ["rexec", 512, 0],
  ["login", 513, 0],
  ["shell", 514, 0],
  ["syslog", 0, 514],
  ["printer", 515, 0],
  ["9fs", 564, 0],
  ["ticket", 567, 0],
  ["submission", 587, 0],
  ["imaps", 993, 0],
  ["pop3s", 995, 0],
  ["nfs", 2049, 2049],
  ["x11", 6000, 0],
  ["iperf3", 5201, 5201],
  ["mdns", 0, 5353],
  ["fsauth", 17020, 0],
  ["exportfs", 17007, 0],
  ["rexexec", 17009, 0],
  ["ncpu", 17010, 0],
  ["cpu", 17013, 0],
  ["rcpu", 17019, 0],
  ["guard", 17021, 0],
];

const PORTS = new Map<string, number>();
for (const [names, tcp, udp] of SERVICES) {
  for (const name of names.split(" ")) {
    if (tcp > 0) PORTS.set(`tcp ${name}`, tcp);
    if (udp > 0) PORTS.set(`udp ${name}`, udp);
  }
}

/** The port of a service by `tcp` or `udp`. */
export function servicePort(proto: string, service: string): number | undefined {
  return PORTS.get(`${proto} ${service}`);
}
