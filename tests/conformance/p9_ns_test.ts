/**
 * The 9P conformance suite over the ram tree, as it is seen through a name space and through the mount driver: the same
 * answers at each distance.
 */

import { hostClock } from "../../core/host/clock.ts";
import { Export } from "../../core/export.ts";
import { Kernel } from "../../core/kernel.ts";
import { Mnt } from "../../core/mnt.ts";
import { MCREATE } from "../../core/mount.ts";
import { Srv } from "../../core/p9/srv.ts";
import { transportPair } from "../../core/p9/transport_pair.ts";
import type { Dev } from "../../core/dev.ts";
import { RamDev } from "../../plugins/ram/dev.ts";
import { ramOptions } from "../../plugins/ram/mod.ts";
import { p9Conformance } from "./p9_suite.ts";
import type { Subject } from "./p9_suite_steps.ts";

const ram = (name: string) => new RamDev(name, hostClock, "glenda", ramOptions({}));

function served(dev: Dev, close: () => void = () => {}): Subject {
  const srv = new Srv(dev);
  return {
    connect() {
      const [ours, theirs] = transportPair();
      srv.serve(theirs);
      return ours;
    },
    close() {
      srv.close();
      close();
    },
  };
}

/** A name space whose root is hidden by what `dev` serves. */
async function exported(dev: Dev): Promise<Export> {
  const kernel = new Kernel({ clock: hostClock, hostowner: "glenda" });
  await kernel.register("root", ram("root"));
  await kernel.register("dev", dev);
  const init = await kernel.init();
  await init.bind("#dev", "/", MCREATE);
  return new Export(init.pgrp);
}

p9Conformance("ram, bound on / of a name space", async () => served(await exported(ram("ram"))));

p9Conformance("ram, over the mount driver as a plugin of its own", async () => {
  const [here, there] = transportPair();
  const plugin = new Srv(ram("ram"));
  void plugin.serve(there);
  const mnt = await Mnt.connect(here, { perUser: true, clock: hostClock });
  return served(await exported(mnt), () => plugin.close());
});
