/** What a user of the console may do. All of them see the pages. */
export type ConsoleRole = "viewer" | "dba" | "officer";

export const CONSOLE_ROLES: readonly ConsoleRole[] = ["viewer", "dba", "officer"];

/** By the form's path: the roles other than officer that may send it. */
const MAY_SEND: Readonly<Record<string, readonly ConsoleRole[]>> = {
  "/console/explain": ["viewer", "dba"],
  // Without a person: that field is for officers.
  "/console/log": ["viewer", "dba"],
  "/console/end": ["dba"],
};

/** Forms that are not listed are for officers only. */
export function maySend(role: ConsoleRole, path: string): boolean {
  return role === "officer" || (MAY_SEND[path]?.includes(role) ?? false);
}
