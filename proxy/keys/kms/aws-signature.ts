import { createHash, createHmac } from "node:crypto";

/* Signature Version 4 (AWS's "Create a signed AWS API request"), for requests to the path "/" without a query. */

export interface AwsCredentials {
  readonly id: string;
  readonly secret: string;
  /** Of temporary credentials. */
  readonly session?: string;
}

export interface AwsPlace extends AwsCredentials {
  readonly region: string;
  readonly service: string;
}

export interface Unsigned {
  readonly method: "GET" | "POST";
  readonly host: string;
  /** With names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** The headers of the request, and those that sign it. `now`: Unix time in milliseconds. */
export function signed(
  { method, host, headers, body }: Unsigned,
  { id, secret, session, region, service }: AwsPlace,
  now: number,
): Readonly<Record<string, string>> {
  const time = new Date(now).toISOString().replaceAll(/[-:]|\.\d+/g, "");
  const day = time.slice(0, 8);
  const all: Record<string, string> = {
    ...headers,
    host,
    "x-amz-date": time,
    ...(session !== undefined && { "x-amz-security-token": session }),
  };
  const names = Object.keys(all).toSorted();
  const list = names.join(";");
  const canonical = [
    ...[method, "/", ""],
    ...names.map((name) => `${name}:${(all[name] ?? "").trim().replaceAll(/ +/g, " ")}`),
    ...["", list, digestOf(body)],
  ].join("\n");
  const scope = `${day}/${region}/${service}/aws4_request`;
  const key = [day, region, service, "aws4_request"].reduce<Buffer>(
    (by, part) => createHmac("sha256", by).update(part).digest(),
    Buffer.from(`AWS4${secret}`),
  );
  const text = ["AWS4-HMAC-SHA256", time, scope, digestOf(canonical)].join("\n");
  const signature = createHmac("sha256", key).update(text).digest("hex");
  return {
    ...all,
    authorization: `AWS4-HMAC-SHA256 Credential=${id}/${scope}, SignedHeaders=${list}, Signature=${signature}`,
  };
}

function digestOf(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
