import { createCipheriv, createDecipheriv, createHash, createHmac, randomBytes } from "node:crypto";
import { createServer, type IncomingMessage, type RequestListener } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";

/*
 * Stand-ins for the services, which speak as much of their HTTP as wrapping a key takes. They check what they are sent as
 * the services do: a token, a namespace, a signature.
 */

export interface StandIn {
  /** Its address, without a path. */
  readonly url: string;
  /** Answers with this in place of its own. */
  answers: { readonly status: number; readonly body: string } | "nothing" | undefined;
  readonly asked: string[];
  close(): Promise<void>;
}

interface Request {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingMessage["headers"];
  readonly body: string;
}
type Answer = readonly [status: number, body: object];

async function standIn(
  answer: (request: Request) => Answer,
  tls?: { readonly key: string; readonly cert: string },
): Promise<StandIn> {
  const listener: RequestListener = (request, response) => {
    const parts: Buffer[] = [];
    request.on("data", (part: Buffer) => parts.push(part));
    request.on("end", () => {
      const { method = "", url: path = "", headers } = request;
      running.asked.push(`${method} ${path}`);
      if (running.answers === "nothing") return;
      const [status, body] = running.answers
        ? [running.answers.status, running.answers.body]
        : stringified(answer({ method, path, headers, body: Buffer.concat(parts).toString() }));
      response.writeHead(status, { "content-type": "application/json" }).end(body);
    });
  };
  const server = tls === undefined ? createServer(listener) : createTlsServer(tls, listener);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const running: StandIn = {
    url: `${tls === undefined ? "http" : "https"}://127.0.0.1:${port}`,
    answers: undefined,
    asked: [],
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
  return running;
}

function stringified([status, body]: Answer): [number, string] {
  return [status, JSON.stringify(body)];
}

/** A key that never leaves the service: AES-256-GCM. */
class Inside {
  readonly #key = randomBytes(32);

  wrap(plaintext: string): string {
    const nonce = randomBytes(12);
    const cipher = createCipheriv("aes-256-gcm", this.#key, nonce);
    const parts = [nonce, cipher.update(plaintext, "base64"), cipher.final()];
    return Buffer.concat([...parts, cipher.getAuthTag()]).toString("base64");
  }

  unwrap(wrapped: string): string | undefined {
    const bytes = Buffer.from(wrapped, "base64");
    if (bytes.length < 28) return undefined;
    const decipher = createDecipheriv("aes-256-gcm", this.#key, bytes.subarray(0, 12));
    decipher.setAuthTag(bytes.subarray(-16));
    try {
      return Buffer.concat([decipher.update(bytes.subarray(12, -16)), decipher.final()]).toString("base64");
    } catch {
      return undefined;
    }
  }
}

export const VAULT_TOKEN = "hvs.CAESI-test";

/** Vault with a transit engine at `engines/transit` that has the key "sluice", in the namespace "team/data". */
export async function startVault(tls?: { readonly key: string; readonly cert: string }): Promise<StandIn> {
  const inside = new Inside();
  return await standIn(({ method, path, headers, body }) => {
    const [, action, name] = /^\/v1\/engines\/transit\/(encrypt|decrypt)\/([\w-]+)$/.exec(path) ?? [];
    if (action === undefined || headers["x-vault-namespace"] !== "team/data")
      return [404, { errors: ["no handler for route"] }];
    if (headers["x-vault-token"] !== VAULT_TOKEN) return [403, { errors: ["permission denied"] }];
    if (method !== "POST" && method !== "PUT") return [405, { errors: ["unsupported operation"] }];
    if (name !== "sluice") return [400, { errors: ["encryption key not found"] }];
    const { plaintext, ciphertext } = JSON.parse(body) as Record<string, string>;
    const data = { request_id: "1", lease_id: "", renewable: false, lease_duration: 0, warnings: null };
    if (action === "encrypt")
      return [
        200,
        { ...data, data: { ciphertext: `vault:v1:${inside.wrap(plaintext ?? "")}`, key_version: 1 } },
      ];
    const opened = inside.unwrap((ciphertext ?? "").replace("vault:v1:", ""));
    return opened === undefined
      ? [400, { errors: ["cipher: message authentication failed"] }]
      : [200, { ...data, data: { plaintext: opened } }];
  }, tls);
}

export const GCP_TOKEN = "ya29.test-token";
export const GCP_KEY = "projects/p-1/locations/europe-west3/keyRings/ring/cryptoKeys/sluice";

/** Cloud KMS, and the metadata server of a machine. */
export async function startGcp(): Promise<StandIn> {
  const inside = new Inside();
  return await standIn(({ method, path, headers, body }) => {
    if (path === "/computeMetadata/v1/instance/service-accounts/default/token")
      return method === "GET" && headers["metadata-flavor"] === "Google"
        ? [200, { access_token: GCP_TOKEN, expires_in: 3599, token_type: "Bearer" }]
        : [403, {}];
    const failed = (code: number, status: string, message: string): Answer => [
      code,
      { error: { code, message, status } },
    ];
    if (headers.authorization !== `Bearer ${GCP_TOKEN}`)
      return failed(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.");
    const { plaintext, ciphertext } = JSON.parse(body) as Record<string, string>;
    if (method === "POST" && path === `/v1/${GCP_KEY}:encrypt`)
      return [
        200,
        {
          name: `${GCP_KEY}/cryptoKeyVersions/1`,
          ciphertext: inside.wrap(plaintext ?? ""),
          protectionLevel: "HSM",
        },
      ];
    if (method !== "POST" || path !== `/v1/${GCP_KEY}:decrypt`) return failed(404, "NOT_FOUND", "not found");
    const opened = inside.unwrap(ciphertext ?? "");
    return opened === undefined
      ? failed(
          400,
          "INVALID_ARGUMENT",
          "Decryption failed: verify that 'name' refers to the correct CryptoKey.",
        )
      : [200, { plaintext: opened, usedPrimary: true, protectionLevel: "HSM" }];
  });
}

export const AWS_KEY = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
export const AWS_SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

/** AWS KMS, which checks the signature of what it is sent by the request as it has arrived. */
export async function startAws(session?: string): Promise<StandIn> {
  const inside = new Inside();
  return await standIn((request) => {
    const { headers, body } = request;
    if (headers["content-type"] !== "application/x-amz-json-1.1")
      return [400, { __type: "SerializationException" }];
    if (headers["x-amz-security-token"] !== session) return [400, { __type: "UnrecognizedClientException" }];
    if (!isSigned(request)) return [400, { __type: "InvalidSignatureException", message: "does not match" }];
    const { KeyId, Plaintext, CiphertextBlob } = JSON.parse(body) as Record<string, string>;
    if (KeyId !== AWS_KEY)
      return [400, { __type: "NotFoundException", message: `Key '${KeyId}' does not exist` }];
    const about = { KeyId: AWS_KEY, EncryptionAlgorithm: "SYMMETRIC_DEFAULT" };
    if (headers["x-amz-target"] === "TrentService.Encrypt")
      return [200, { ...about, CiphertextBlob: inside.wrap(Plaintext ?? "") }];
    if (headers["x-amz-target"] !== "TrentService.Decrypt")
      return [400, { __type: "UnknownOperationException" }];
    const opened = inside.unwrap(CiphertextBlob ?? "");
    return opened === undefined
      ? [400, { __type: "com.amazonaws.kms#InvalidCiphertextException" }]
      : [200, { ...about, Plaintext: opened }];
  });
}

/** By AWS's description of Signature Version 4, from the other side. */
function isSigned({ method, path, headers, body }: Request): boolean {
  const [, id, day, region, service, names = "", signature] =
    /^AWS4-HMAC-SHA256 Credential=(\w+)\/(\d{8})\/([\w-]+)\/(\w+)\/aws4_request, SignedHeaders=([\w;-]+), Signature=([0-9a-f]{64})$/.exec(
      headers.authorization ?? "",
    ) ?? [];
  const time = String(headers["x-amz-date"] ?? "");
  const mustBeSigned = ["host", "x-amz-date", "x-amz-target", "content-type"];
  if (id !== "AKIDEXAMPLE" || region !== "eu-central-1" || service !== "kms" || !time.startsWith(`${day}T`))
    return false;
  if (!mustBeSigned.every((name) => names.split(";").includes(name))) return false;
  const sha = (text: string) => createHash("sha256").update(text).digest("hex");
  const mac = (key: string | Buffer, text: string) => createHmac("sha256", key).update(text).digest();
  let canonical = `${method}\n${path}\n\n`;
  for (const name of names.split(";")) canonical += `${name}:${String(headers[name])}\n`;
  canonical += `\n${names}\n${sha(body)}`;
  const key = mac(mac(mac(mac(`AWS4${AWS_SECRET}`, day ?? ""), region), service), "aws4_request");
  const text = `AWS4-HMAC-SHA256\n${time}\n${day}/${region}/${service}/aws4_request\n${sha(canonical)}`;
  return mac(key, text).toString("hex") === signature;
}
