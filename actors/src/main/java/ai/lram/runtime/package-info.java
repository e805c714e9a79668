/**
 * The control runtime: starts the actor system around one policy and opens robot sessions on it.
 *
 * <p>{@link ai.lram.runtime.LramRuntime} is the entry point; no Akka type appears in its interface.
 */
package ai.lram.runtime;
