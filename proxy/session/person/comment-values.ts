/*
 * What applications write of themselves into comments:
 * - sqlcommenter (google.github.io/sqlcommenter/spec): key='value',… with both URL-encoded and quotes escaped;
 * - ActiveRecord's query logs and marginalia: key:value,… ;
 * - Metabase: "-- Metabase:: userID: 1 queryType: native queryHash: …".
 */

/** The values of a key in one comment, with its marks; all of them, so that it can be seen whether they disagree. */
export function commentValues(comment: string, key: string): readonly string[] {
  const body = comment.startsWith("--") ? comment.slice(2) : comment.slice(2, -2);
  const quoted = quotedPairs(body);
  if (quoted !== undefined) return valuesOf(quoted, key);
  const metabase = /^\s*Metabase::\s+(.*)$/s.exec(body)?.[1];
  if (metabase !== undefined) return valuesOf(pairs(metabase, /([^\s:]+):\s+(\S+)/g), key);
  // These write a comma within a value as it is: `user:Ng, Alice`.
  return valuesOf(pairs(body, /(?:^|,)\s*([^\s:,]+):(.*?)(?=,\s*[^\s:,]+:|$)/gs), key);
}

type Pair = readonly [key: string, value: string];

/** Of sqlcommenter; undefined for a comment of another form. */
function quotedPairs(body: string): readonly Pair[] | undefined {
  const found: Pair[] = [];
  const pair = /\s*([^\s=,']+)='((?:[^'\\]|\\.)*)'\s*(,|$)/gy;
  let end = 0;
  for (let match = pair.exec(body); match !== null; match = pair.exec(body)) {
    const [, key = "", value = ""] = match;
    found.push([decoded(key), decoded(value.replace(/\\(.)/g, "$1"))]);
    end = pair.lastIndex;
  }
  return found.length > 0 && end === body.length ? found : undefined;
}

function pairs(body: string, pattern: RegExp): readonly Pair[] {
  return [...body.matchAll(pattern)].map(([, key = "", value = ""]) => [key, value.trim()]);
}

function valuesOf(found: readonly Pair[], key: string): readonly string[] {
  return found.filter(([name]) => name === key).map(([, value]) => value);
}

/** Anything that is no URL encoding is kept. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
