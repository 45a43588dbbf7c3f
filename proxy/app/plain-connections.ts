import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import type { Log } from "../log.ts";
import { isUnixSocket, type Settings } from "../settings/settings.ts";
import { serverCertificate } from "../wire/channel-binding.ts";
import { dial, type Upstream } from "../wire/upstream.ts";

/** Logs where clients would connect without TLS unnoticed. Never rejects. */
export async function tellOfPlainText(
  settings: Pick<Settings, "listen" | "auth" | "tlsCert" | "tlsRequired">,
  upstreams: readonly Upstream[],
  log: Log,
): Promise<void> {
  const { listen, auth, tlsCert, tlsRequired } = settings;
  if (tlsCert === undefined) {
    if (listen.some((address) => !isUnixSocket(address) && !isLoopback(address.host)))
      log.warn(
        "clients connect without TLS: all that they read can be seen on their network. Set --tls-cert",
      );
    return;
  }
  if (auth !== "passthrough") return;
  const own = new X509Certificate(readFileSync(tlsCert)).raw;
  const cut = await Promise.all(upstreams.map((upstream) => cutsBinding(upstream, own)));
  if (!cut.includes(true)) return;
  log.warn(
    {
      effect: tlsRequired
        ? "libpq clients are refused unless they set channel_binding=disable"
        : "libpq clients with sslmode=prefer (their default) go on WITHOUT TLS; with sslmode=require they are refused unless they set channel_binding=disable",
      remedy: tlsRequired
        ? "give --tls-cert the database's own certificate, or use --auth scram"
        : "give --tls-cert the database's own certificate, or use --auth scram; --tls-required refuses clients without TLS",
    },
    "SCRAM with channel binding cannot be relayed: --tls-cert is not the database's own certificate",
  );
}

/** Whether logins that are bound to the database's TLS cannot work through this proxy. */
async function cutsBinding(upstream: Upstream, own: Buffer): Promise<boolean> {
  const [host] = upstream.hosts;
  const target: Upstream = { ...upstream, ...host };
  if (target.sslmode === "disable" || target.host.startsWith("/")) return false;
  try {
    const socket = await dial(target);
    const theirs = serverCertificate(socket);
    socket.destroy();
    // With sslmode=allow or prefer it may have no TLS.
    return theirs !== undefined && !theirs.equals(own);
  } catch {
    // The server is unreachable; assume that it has TLS when it is back.
    return target.sslmode !== "allow" && target.sslmode !== "prefer";
  }
}

function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || host.startsWith("127.");
}
