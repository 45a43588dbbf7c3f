/** Somebody is about to get a decoy. It holds no value of the decoy's. */
export interface CanarySighting {
  /** Unix time in milliseconds. */
  readonly time: number;
  readonly user: string;
  readonly role: string;
  readonly database: string;
  /** IP address. */
  readonly client: string;
  readonly session: string;
  readonly application: string;
  readonly action: "alert" | "suspend";
  /** Its keyed hash, and the group that it was made for, "" for none. */
  readonly canary: { readonly subject: string; readonly group: string };
}

/** What is told of it. */
export function canaryText({ canary }: CanarySighting): string {
  return canary.group === "" ? "a decoy was read" : `a decoy made for "${canary.group}" was read`;
}
