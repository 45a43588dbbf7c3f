#!/usr/bin/env node
/**
 * Says whether the lines beside this file stand in an audit log of Sluice as they were written. It needs Node, and neither
 * Sluice nor a secret:
 *
 *   node verify.mjs [--key FILE] [--anchors FILE]
 *
 * --key       a public key (PEM) that you have from elsewhere: without it the keys beside this file are believed
 * --anchors   anchors that you have from elsewhere (JSON lines): says which lines they prove
 *
 * What it checks: manifest.json names each file by its SHA-256 and is signed (manifest.sig). Each line of lines.jsonl has its
 * own hash at its end. A line of proofs.jsonl leads from that hash to the root of a Merkle tree (RFC 6962, section 2.1) over
 * the lines of a part of the log, and to the anchor of anchors.jsonl that signs this root (Ed25519).
 */
import { createHash, createPublicKey, verify } from "node:crypto";
import { readdirSync, readFileSync, realpathSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const sha256 = (...parts) => createHash("sha256").update(Buffer.concat(parts)).digest();
const hex = (text) => Buffer.from(text, "hex");
const HASH = /^[0-9a-f]{64}$/;
const LINK =
  /"log_name":"([\w.-]+)","sequence":(\d{1,15})\},"prev_hash":"[0-9a-f]{64}","hash":"([0-9a-f]{64})"\}$/;
const HASH_FIELD = ',"hash":"'.length + 64 + '"}'.length;

class Wrong extends Error {}

function check(holds, problem) {
  if (!holds) throw new Wrong(problem);
}

/** Lines of JSON: each ends with a line feed, and none is empty. */
function linesOf(folder, name) {
  const text = readFileSync(join(folder, name), "utf8");
  check(text === "" || text.endsWith("\n"), `${name} does not end with a line feed`);
  return text === "" ? [] : text.slice(0, -1).split("\n");
}

function parsed(line, where) {
  try {
    return JSON.parse(line);
  } catch {
    throw new Wrong(`${where} is no JSON`);
  }
}

function keyId(key) {
  return sha256(key.export({ format: "der", type: "spki" }))
    .toString("hex")
    .slice(0, 16);
}

function keysIn(folder, given) {
  const own = readdirSync(folder).filter((name) => /^audit-key-[0-9a-f]{16}\.pem$/.test(name));
  const files = given === undefined ? own.map((name) => join(folder, name)) : [given];
  return new Map(
    files.map((file) => {
      const key = createPublicKey(readFileSync(file));
      return [keyId(key), key];
    }),
  );
}

function checkSigned(keys, id, text, signature, what) {
  const key = keys.get(id);
  check(key !== undefined, `${what} is signed with the key ${id}, which is not trusted`);
  check(verify(null, Buffer.from(text), key, signature), `the signature of ${what} does not fit`);
}

/** The files are those that the manifest names, as they were. */
function checkManifest(folder, keys) {
  const text = readFileSync(join(folder, "manifest.json"), "utf8");
  const [, id, signature] =
    /^([0-9a-f]{16}) ([0-9a-f]{128})\n$/.exec(readFileSync(join(folder, "manifest.sig"), "utf8")) ?? [];
  check(id !== undefined, "manifest.sig is no signature");
  checkSigned(keys, id, `sluice audit evidence 1\n${text}`, hex(signature), "manifest.json");
  const manifest = parsed(text, "manifest.json");
  const others = readdirSync(folder).filter((name) => name !== "manifest.json" && name !== "manifest.sig");
  const named = Object.keys(manifest.files);
  for (const name of others) check(named.includes(name), `${name} is not named in the manifest`);
  for (const name of named) {
    check(others.includes(name), `${name} is missing`);
    const digest = sha256(readFileSync(join(folder, name))).toString("hex");
    check(digest === manifest.files[name], `${name} was changed`);
  }
  return manifest;
}

function checkAnchor(anchor, keys, where) {
  const { writer, sequence, hash, time, tree, signedBy, signature } = anchor;
  check(tree !== undefined && HASH.test(tree.root), `${where} has no tree`);
  const signed = [writer, sequence, hash, time, tree.segment, tree.size, tree.root];
  const bytes = Buffer.from(signature, "base64url");
  checkSigned(keys, signedBy, ["sluice audit anchor 2", ...signed].join("\n"), bytes, where);
  return anchor;
}

/** RFC 9162, section 2.1.3.2: the root to which a leaf's path leads. */
function rootOf(leaf, index, size, path) {
  let [node, last, rest] = [index, size - 1, leaf];
  for (const sibling of path) {
    check(HASH.test(sibling) && last > 0, "the path is none");
    if (node % 2 === 1 || node === last) {
      rest = sha256(Buffer.of(1), hex(sibling), rest);
      while (node % 2 === 0 && node !== 0) [node, last] = [Math.floor(node / 2), Math.floor(last / 2)];
    } else rest = sha256(Buffer.of(1), rest, hex(sibling));
    [node, last] = [Math.floor(node / 2), Math.floor(last / 2)];
  }
  check(last === 0, "the path is too short");
  return rest.toString("hex");
}

/** The place of a line in its log, which its own hash covers. */
function linkOf(line, where) {
  const bytes = Buffer.from(line, "utf8");
  const [, writer, sequence, hash] = LINK.exec(line) ?? [];
  check(writer !== undefined, `${where} is no line of a log`);
  const digest = sha256(bytes.subarray(0, bytes.length - HASH_FIELD)).toString("hex");
  check(digest === hash, `${where} was changed: its hash does not fit`);
  return { writer, sequence: Number(sequence), hash };
}

function checkProof({ index, path, anchor: number }, link, anchors, where) {
  const anchor = anchors[number];
  check(anchor !== undefined, `${where} names no anchor`);
  check(anchor.writer === link.writer, `${where}: its anchor is another writer's`);
  const { size, root } = anchor.tree;
  check(
    Number.isSafeInteger(index) && index >= 0 && index < size,
    `${where}: the place is outside of the tree`,
  );
  // Numbers of lines go up by one: the last line of the tree is the anchor's own.
  check(link.sequence === anchor.sequence - (size - 1 - index), `${where}: the line has another number`);
  const leaf = sha256(Buffer.of(0), hex(link.hash));
  check(rootOf(leaf, index, size, path) === root, `${where}: the path does not lead to the anchor's root`);
  return anchor;
}

/** Throws where something is wrong; says what is proved. */
export function verifyEvidence(folder, { key, anchors: given } = {}) {
  const keys = keysIn(folder, key);
  const manifest = checkManifest(folder, keys);
  const anchors = linesOf(folder, "anchors.jsonl").map((line, i) =>
    checkAnchor(parsed(line, `anchor ${i + 1}`), keys, `anchor ${i + 1}`),
  );
  const lines = linesOf(folder, "lines.jsonl");
  const proofs = linesOf(folder, "proofs.jsonl");
  check(lines.length === manifest.lines && proofs.length === lines.length, "lines or proofs are missing");
  const elsewhere = given === undefined ? [] : readFileSync(given, "utf8").split("\n");
  const known = new Set(elsewhere.flatMap((line) => (line === "" ? [] : [anchorName(line)])));
  const places = new Set();
  let anchored = 0;
  for (const [i, line] of lines.entries()) {
    const where = `line ${i + 1}`;
    const link = linkOf(line, where);
    places.add(`${link.writer} ${link.sequence}`);
    const own = parsed(proofs[i], `the proof of ${where}`);
    check(Array.isArray(own) && own.length > 0, `${where} has no proof`);
    const proved = own.map((proof) => checkProof(proof, link, anchors, where));
    if (proved.some((anchor) => known.has(nameOf(anchor)))) anchored += 1;
  }
  check(places.size === lines.length, "a line is there twice");
  return { lines: lines.length, anchored, keys: [...keys.keys()], manifest };
}

function nameOf({ writer, sequence, hash, tree }) {
  return [writer, sequence, hash, tree?.root].join(" ");
}

/** An anchor by itself, or a line of the operational log that has one. */
function anchorName(line) {
  try {
    const found = JSON.parse(line);
    return nameOf(found.anchor ?? found);
  } catch {
    return "";
  }
}

function option(args, name) {
  const at = args.indexOf(name);
  return at === -1 ? undefined : args[at + 1];
}

function main(args) {
  const folder = dirname(fileURLToPath(import.meta.url));
  const [key, anchors] = [option(args, "--key"), option(args, "--anchors")];
  try {
    const { lines, anchored, keys, manifest } = verifyEvidence(folder, { key, anchors });
    console.log(`${lines} lines stand in the log as they were written.`);
    console.log(`Exported ${new Date(manifest.made).toISOString()} by ${JSON.stringify(manifest.by)}.`);
    if (manifest.unproved.length > 0) console.log("unproved.jsonl has lines that are not proved.");
    if (key === undefined)
      console.log(`Believed: the keys ${keys.join(", ")} beside this file. --key FILE names one you know.`);
    if (anchors !== undefined) console.log(`${anchored} of them are proved by an anchor of yours.`);
    return 0;
  } catch (error) {
    console.error(`WRONG: ${error.message}`);
    return 1;
  }
}

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url))
  process.exitCode = main(process.argv.slice(2));
