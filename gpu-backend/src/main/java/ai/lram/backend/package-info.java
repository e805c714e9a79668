/** Module gpu-backend. */
package ai.lram.backend;
