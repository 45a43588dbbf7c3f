import { readFileSync } from "node:fs";

/** As package.json has it: one folder above, from proxy/ as from dist/. */
export function version(): string {
  const file = new URL("../package.json", import.meta.url);
  return String((JSON.parse(readFileSync(file, "utf8")) as { version: unknown }).version);
}
