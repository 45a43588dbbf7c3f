import { readdirSync, readFileSync, readlinkSync } from "node:fs";

/** Which of these processes holds the TCP connection whose own end has this port (proc(5), /proc/net/tcp). */
export function processAtPort(port: number, processes: readonly number[]): number {
  const end = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  const sockets = ["tcp", "tcp6"].flatMap((table) =>
    readFileSync(`/proc/net/${table}`, "utf8")
      .split("\n")
      .map((line) => line.trim().split(/\s+/))
      .filter(([, local]) => local?.endsWith(end))
      .map((fields) => `socket:[${fields[9]}]`),
  );
  const holder = processes.find((process) => socketsOf(process).some((socket) => sockets.includes(socket)));
  if (holder === undefined) throw new Error(`no process of these holds port ${port}`);
  return holder;
}

/** Empty for a process that has ended. */
function socketsOf(process: number): readonly string[] {
  const folder = `/proc/${process}/fd`;
  try {
    return readdirSync(folder).map((name) => readlinkSync(`${folder}/${name}`));
  } catch {
    return [];
  }
}
