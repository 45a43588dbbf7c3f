/** A key of a key management service. It wraps the keys of a ring, and never leaves the service. */
export interface Kms {
  wrap(secret: Buffer): Promise<string>;
  unwrap(wrapped: string): Promise<Buffer>;
}

/** How a proxy reaches its KMS. */
export interface KmsAccess {
  /** A token of Vault or GCP, or AWS's credentials file; undefined: what the environment has. */
  readonly credentials: string | undefined;
  /** Authorities (PEM) of the service's certificate, in place of the well-known ones. */
  readonly ca: string | undefined;
  /** In place of the public address of AWS or GCP. */
  readonly endpoint: string | undefined;
  /** AWS_ACCESS_KEY_ID and its like, VAULT_TOKEN, GCE_METADATA_HOST. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Unix time in milliseconds. */
  readonly now: () => number;
}
