import type { Page } from "./page.ts";
import { alertsPage } from "./pages/alerts.ts";
import { logPage } from "./pages/audit-log.ts";
import { casePage, casesPage } from "./pages/cases.ts";
import { explainPage } from "./pages/explain.ts";
import { historyPage } from "./pages/history.ts";
import { leakPage } from "./pages/leak.ts";
import { overviewPage } from "./pages/overview.ts";
import { personPage } from "./pages/person.ts";
import { policyPage } from "./pages/policy.ts";
import { policyChangesPage } from "./pages/policy-changes.ts";
import { readersPage } from "./pages/readers.ts";
import { sessionPage } from "./pages/session.ts";
import { sessionsPage } from "./pages/sessions.ts";
import { userPage } from "./pages/user.ts";

/** By path. */
export const PAGES: ReadonlyMap<string, Page> = new Map<string, Page>([
  ["/console", overviewPage],
  ["/console/", overviewPage],
  ["/console/readers", readersPage],
  ["/console/user", userPage],
  ["/console/sessions", sessionsPage],
  ["/console/session", sessionPage],
  ["/console/alerts", alertsPage],
  ["/console/cases", casesPage],
  ["/console/case", casePage],
  ["/console/person", personPage],
  ["/console/leak", leakPage],
  ["/console/log", logPage],
  ["/console/history", historyPage],
  ["/console/policy-changes", policyChangesPage],
  ["/console/policy", policyPage],
  ["/console/explain", explainPage],
]);
