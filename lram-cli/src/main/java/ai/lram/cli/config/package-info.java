/** Settings from HOCON files: defaults with units, ranges and reasons in {@code reference.conf}; unknown keys are refused. */
package ai.lram.cli.config;
