/** The 9P conformance suite over the ram tree in this isolate: through an in-memory pipe. */

import { hostClock } from "../../core/host/clock.ts";
import { Srv } from "../../core/p9/srv.ts";
import { transportPair } from "../../core/p9/transport_pair.ts";
import { RamDev } from "../../plugins/ram/dev.ts";
import { ramOptions } from "../../plugins/ram/mod.ts";
import { p9Conformance } from "./p9_suite.ts";

p9Conformance("ram, inline", () => {
  const srv = new Srv(new RamDev("ram", hostClock, "glenda", ramOptions({})));
  return {
    connect() {
      const [ours, theirs] = transportPair();
      srv.serve(theirs);
      return ours;
    },
    close: () => srv.close(),
  };
});
