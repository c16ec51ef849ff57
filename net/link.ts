/**
 * What net/ knows of devices: core/link.ts, under the name that this layer uses. Re-exports only.
 *
 * Layer: net, a leaf. The stack sends on a Link; whoever runs the device gives it what arrives.
 */

export { CHECKSUM, type FrameInfo, type FrameSink, GSO, type Link, PLAIN, type Port } from "../core/link.ts";
