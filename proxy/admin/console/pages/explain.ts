import type { Explanation } from "../../../sql/explanation.ts";
import { countsNobodyText } from "../../../sql/uncounted.ts";
import type { Answer, Operations } from "../../operations.ts";
import { type Html, html } from "../html.ts";
import type { Visit } from "../log-in.ts";
import type { Action, PageRequest } from "../page.ts";
import { formToken, layout } from "./layout.ts";
import { badge, code } from "./pieces.ts";

/** What stands in the form. */
interface Asking {
  readonly user: string;
  /** For whom the user, an application, reads. */
  readonly person: string;
  /** The values of the claim that gives this person a role, with commas between them. */
  readonly claims: string;
  /** "": the one that the policy gives the user. */
  readonly role: string;
  readonly address: string;
  readonly database: string;
  readonly statement: string;
}

export function explainPage({ visit, notice, operations, query }: PageRequest): Html {
  const [database = ""] = operations.databases();
  const user = query.get("user") ?? "";
  const asking = { user, person: "", claims: "", role: "", address: "127.0.0.1", database, statement: "" };
  return whole(visit, operations, asking, undefined, notice);
}

/** Sent as a form: a statement may hold what should not stand in an address. */
export const explainAction: Action = async ({ visit, form, operations }) => {
  const field = (name: string) => (form.get(name) ?? "").trim();
  const asking = {
    user: field("user"),
    person: field("person"),
    claims: field("claims"),
    role: field("role"),
    address: field("address") || "127.0.0.1",
    database: field("database"),
    statement: field("statement"),
  };
  const claims = asking.claims.split(",").flatMap((value) => value.trim() || []);
  const known = operations.databases().includes(asking.database);
  const answer: Answer = known
    ? await operations.explain({ ...asking, claims, role: asking.role || undefined })
    : { ok: false, problem: "there is no such database here", hint: "" };
  return { kind: "page", status: 200, page: whole(visit, operations, asking, answer) };
};

function whole(
  visit: Visit,
  operations: Operations,
  asking: Asking,
  answer: Answer | undefined,
  notice?: string,
): Html {
  return layout({
    title: "What would they see?",
    place: "/console/explain",
    visit,
    notice,
    body: html`<p class="lead">Shows what happens to a statement, and why. Nothing is run.</p>
      ${form(visit, operations, asking)}
      ${
        answer !== undefined &&
        html`<section class="answer" aria-labelledby="answer-heading" id="answer" tabindex="-1" data-focus>
        <h2 id="answer-heading">Verdict</h2>
        ${answer.ok ? explained(answer.explanation) : html`<p class="problem">${answer.problem}. ${answer.hint}</p>`}
      </section>`
      }`,
  });
}

function form(visit: Visit, operations: Operations, asking: Asking): Html {
  const policies = operations.databases().map((name) => operations.policies().forDatabase(name));
  const roles = [...new Set(policies.flatMap((policy) => [...policy.roles.keys()]))];
  const users = policies.flatMap(({ roles: all }) =>
    [...all.values()].flatMap((role) => role.users.filter(({ exact }) => exact).map(({ text }) => text)),
  );
  return html`<form class="ask" method="post" action="/console/explain">
    ${formToken(visit)}
    <div class="fields">
      <p><label for="user">User</label>
        <input id="user" name="user" list="users" value="${asking.user}" autocomplete="off" autocapitalize="none" spellcheck="false">
        <datalist id="users">${[...new Set(users)].map((user) => html`<option value="${user}"></option>`)}</datalist></p>
      <p><label for="person">Person behind an application</label>
        <input id="person" name="person" value="${asking.person}" autocomplete="off" autocapitalize="none" spellcheck="false"></p>
      <p><label for="claims">Values of their claim, by which they act</label>
        <input id="claims" name="claims" value="${asking.claims}" placeholder="support, leads" autocomplete="off" autocapitalize="none" spellcheck="false"></p>
      <p><label for="role">Role</label>
        <select id="role" name="role">
          <option value="">as the policy says</option>
          ${roles.map((role) => choice(role, asking.role))}
        </select></p>
      <p><label for="database">Database</label>
        <select id="database" name="database">${operations.databases().map((name) => choice(name, asking.database))}</select></p>
      <p><label for="address">From address</label>
        <input id="address" name="address" value="${asking.address}" autocomplete="off"></p>
    </div>
    <label for="statement">Statement</label>
    <textarea id="statement" name="statement" rows="5" required spellcheck="false" autocapitalize="none">
${asking.statement}</textarea>
    <button type="submit">Explain</button>
  </form>`;
}

function choice(name: string, chosen: string): Html {
  return html`<option value="${name}"${name === chosen && html` selected`}>${name}</option>`;
}

const TONES = {
  "passes unchanged": "quiet",
  "is rewritten": "good",
  "passes, with columns added that say whose rows they are": "quiet",
  "is refused": "bad",
} as const;

function explained(explanation: Explanation): Html {
  const { user, role, database, policy, mode, verdict, refusal, lookups, reveals, sent } = explanation;
  const { counts, countsNobody } = explanation;
  const lists = ["reads", "writes", "masked", "limits", "metering"] as const;
  return html`<p class="verdict">${badge(TONES[verdict], `The statement ${verdict}`)}</p>
    ${mode === "observe" && html`<p class="problem">Only observed: it goes through as it is.</p>`}
    ${
      refusal !== undefined &&
      html`<dl class="facts wide">
        ${fact("Reason", html`${code(refusal.sqlstate)} ${refusal.message}`)}
        ${refusal.detail !== undefined && fact("Detail", html`${refusal.detail}`)}
        ${refusal.hint !== undefined && fact("Hint", html`${refusal.hint}`)}
        ${refusal.rule !== undefined && fact("Rule", code(refusal.rule))}
      </dl>`
    }
    <dl class="facts wide">
      ${fact("Who", html`<bdi>${user}</bdi>, role <bdi>${role}</bdi>, database <bdi>${database}</bdi>`)}
      ${lists.map((name) => explanation[name].length > 0 && fact(NAMES[name], html`${explanation[name].join(", ")}`))}
      ${
        countsNobody !== undefined &&
        fact(
          "Counted",
          badge(
            countsNobody.why === "unlimited role" ? "quiet" : "bad",
            countsNobodyText(countsNobody, counts.length > 0),
          ),
        )
      }
      ${reveals.length > 0 && fact("Turned back", html`${reveals.join(", ")}`)}
      ${lookups > 0 && fact("Lookups", html`${lookups}`)}
      ${fact("Policy", code(policy))}
    </dl>
    ${
      sent !== undefined &&
      html`<h3 id="sent-heading">What the server would get</h3>
        <pre tabindex="0" role="region" aria-labelledby="sent-heading"><code>${sent}</code></pre>
        <p class="quiet">Masks made with the fleet's secret are shown with a made-up key.</p>`
    }`;
}

const NAMES = {
  reads: "Reads",
  writes: "Writes",
  masked: "Masked",
  limits: "Limits",
  metering: "Counted",
} as const;

function fact(name: string, value: Html): Html {
  return html`<div><dt>${name}</dt><dd>${value}</dd></div>`;
}
