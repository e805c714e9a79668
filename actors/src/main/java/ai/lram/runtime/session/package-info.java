/** One actor per robot: step order, checks on entry, return-to-go, deadlines, fallback and the safety stage. */
package ai.lram.runtime.session;
