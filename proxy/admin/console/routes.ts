/** Addresses of pages. Names stand in the query, where they may hold anything. */
export const at = {
  user: (user: string) => address("/console/user", { name: user }),
  /** A search of the audit log. */
  log: (fields: Readonly<Record<string, string>>) => address("/console/log", fields),
  case: (id: string) => address("/console/case", { id }),
  /** Who read a leaked list; the answer can be attached to this case. */
  leak: (id: string) => address("/console/leak", { case: id }),
  history: (user: string) => address("/console/history", { name: user }),
  session: (session: string) => address("/console/session", { id: session }),
};

function address(path: string, query: Readonly<Record<string, string>>): string {
  return `${path}?${new URLSearchParams(query)}`;
}

/** The page that was asked for before the login: one of ours, or the first one. */
export function safeTarget(to: URL | string): string {
  const base = "http://console.invalid";
  const url = typeof to === "string" ? (URL.canParse(to, base) ? new URL(to, base) : undefined) : to;
  if (url === undefined || (typeof to === "string" && url.origin !== base)) return "/console";
  return url.pathname === "/console" || url.pathname.startsWith("/console/")
    ? `${url.pathname}${url.search}`
    : "/console";
}
