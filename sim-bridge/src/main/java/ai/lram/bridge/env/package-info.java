/**
 * Simulated robots in closed form that run in this process: seeded, deterministic, without allocation per step.
 *
 * <p>{@link ai.lram.bridge.env.EnvironmentRegistry} creates them by id. Each follows one published task, named in its
 * Javadoc with its constants and every deviation.
 */
package ai.lram.bridge.env;
