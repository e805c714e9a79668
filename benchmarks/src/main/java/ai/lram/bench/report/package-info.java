/** Results for people and programs: JSON, PNG plots, and HTML reports that stand alone. Files appear complete or not at all. */
package ai.lram.bench.report;
