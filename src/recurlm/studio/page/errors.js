// What is said of errors: what the page knows itself in its own language, the rest as the server words it.
import { language, t } from "./words.js";

export class ServerError extends Error {
  // told: the server's {message, code, param}, as far as it says them
  constructor(status, { message, code = null, param = null }) {
    super(message);
    Object.assign(this, { status, code, param });
  }
}
export class UnreachableError extends Error {}

const BY_CODE = {
  queue_full: "isBusy", stopping: "isEnding", timeout: "tookTooLong", body_too_large: "tooLarge",
  training: "trainsAlready",
};
const BY_FIELD = {
  "400 name": "badName", "409 name": "nameTaken", "404 name": "noSuchRun", "400 time_limit": "badTime",
};

// The text of an error. The server words its errors in English, so only the Chinese page replaces what it knows.
export function explained(error) {
  if (error instanceof UnreachableError) return t("unreachable");
  if (!(error instanceof ServerError) || language !== "zh") return error.message;
  if (error.status === 401) return t("noAccess");
  const known = BY_CODE[error.code] || BY_FIELD[`${error.status} ${error.param}`];
  return known ? t(known) : `${t("serverSays")}${error.message}`;
}
