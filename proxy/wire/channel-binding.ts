import { createHash } from "node:crypto";
import type { Socket } from "node:net";
import { TLSSocket } from "node:tls";

/** The certificate (DER) that we showed to the peer of an incoming connection. */
export function ownCertificate(socket: Socket): Buffer | undefined {
  if (!(socket instanceof TLSSocket)) return undefined;
  return socket.getX509Certificate()?.raw;
}

/** The certificate (DER) that the server showed to us. */
export function serverCertificate(socket: Socket): Buffer | undefined {
  return socket instanceof TLSSocket ? socket.getPeerX509Certificate()?.raw : undefined;
}

/**
 * The hash of a certificate that both ends bind SCRAM to (tls-server-end-point, RFC 5929, section 4.1). It uses the
 * hash function of the certificate's signature, but SHA-256 instead of MD5 and SHA-1. Undefined if the signature names
 * no hash (Ed25519): Postgres cannot bind then either (be_tls_get_certificate_hash of libpq/be-secure-openssl.c).
 */
export function endPointHash(certificate: Buffer): Buffer | undefined {
  const algorithm = signatureHash(certificate);
  return algorithm === undefined ? undefined : createHash(algorithm).update(certificate).digest();
}

/** Object identifiers (hexadecimal) of signatures and of hashes, with the hash to use for each. */
const HASHES: ReadonlyMap<string, string> = new Map([
  // md5WithRSAEncryption, sha1WithRSAEncryption, ecdsa-with-SHA1, SHA-1
  ["2a864886f70d010104", "sha256"],
  ["2a864886f70d010105", "sha256"],
  ["2a8648ce3d0401", "sha256"],
  ["2b0e03021a", "sha256"],
  // sha224 to sha512 with RSA
  ["2a864886f70d01010e", "sha224"],
  ["2a864886f70d01010b", "sha256"],
  ["2a864886f70d01010c", "sha384"],
  ["2a864886f70d01010d", "sha512"],
  // ECDSA with SHA-224 to SHA-512
  ["2a8648ce3d040301", "sha224"],
  ["2a8648ce3d040302", "sha256"],
  ["2a8648ce3d040303", "sha384"],
  ["2a8648ce3d040304", "sha512"],
  // SHA-224 to SHA-512, as parameters of RSASSA-PSS
  ["608648016503040204", "sha224"],
  ["608648016503040201", "sha256"],
  ["608648016503040202", "sha384"],
  ["608648016503040203", "sha512"],
]);
const RSASSA_PSS = "2a864886f70d01010a";

/**
 * Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm SEQUENCE { OID, parameters }, signature } (RFC 5280).
 */
function signatureHash(certificate: Buffer): string | undefined {
  const [, algorithm] = elements(contentsOf(certificate));
  if (algorithm === undefined) return undefined;
  const [oid, parameters] = elements(algorithm.contents);
  const name = oid?.contents.toString("hex") ?? "";
  if (name !== RSASSA_PSS) return HASHES.get(name);
  // RSASSA-PSS-params ::= SEQUENCE { [0] AlgorithmIdentifier DEFAULT sha1, … } (RFC 4055).
  const first = parameters && elements(parameters.contents).find(({ tag }) => tag === 0xa0);
  if (first === undefined) return "sha256";
  const [hash] = elements(contentsOf(first.contents));
  return HASHES.get(hash?.contents.toString("hex") ?? "");
}

interface Element {
  readonly tag: number;
  readonly contents: Buffer;
}

function contentsOf(der: Buffer): Buffer {
  return elements(der)[0]?.contents ?? Buffer.alloc(0);
}

/** The consecutive DER elements of a buffer; reading stops at an invalid length. */
function elements(der: Buffer): readonly Element[] {
  const found: Element[] = [];
  for (let at = 0; at + 2 <= der.length; ) {
    const tag = der.readUInt8(at);
    const short = der.readUInt8(at + 1);
    const lengthBytes = short < 0x80 ? 0 : short & 0x7f;
    const start = at + 2 + lengthBytes;
    if (lengthBytes > 4 || start > der.length) break;
    const length = lengthBytes === 0 ? short : der.readUIntBE(at + 2, lengthBytes);
    found.push({ tag, contents: der.subarray(start, start + length) });
    at = start + length;
  }
  return found;
}
