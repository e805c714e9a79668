/** Module lram-cli. */
package ai.lram.cli;
