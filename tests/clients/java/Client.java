// Every scenario in a bucket of its own, with S3_ENDPOINT, S3_ACCESS_KEY and S3_SECRET_KEY in the
// environment: the AWS SDK for Java 2 with its defaults, path style. Prints "passed NAME" or
// "failed NAME: why" for each; `--list` prints their names.

import java.net.HttpURLConnection;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.UUID;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.awssdk.core.async.AsyncRequestBody;
import software.amazon.awssdk.core.async.AsyncResponseTransformer;
import software.amazon.awssdk.core.sync.RequestBody;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.s3.S3AsyncClient;
import software.amazon.awssdk.services.s3.S3Client;
import software.amazon.awssdk.services.s3.S3Configuration;
import software.amazon.awssdk.services.s3.model.BucketVersioningStatus;
import software.amazon.awssdk.services.s3.model.ChecksumAlgorithm;
import software.amazon.awssdk.services.s3.model.ChecksumMode;
import software.amazon.awssdk.services.s3.model.NoSuchKeyException;
import software.amazon.awssdk.services.s3.model.ObjectIdentifier;
import software.amazon.awssdk.services.s3.model.S3Exception;
import software.amazon.awssdk.services.s3.model.S3Object;
import software.amazon.awssdk.services.s3.presigner.S3Presigner;

public class Client {
  interface Scenario {
    void run(String bucket) throws Exception;
  }

  static final int MIB = 1 << 20;
  static final URI ENDPOINT = URI.create(env("S3_ENDPOINT", "http://localhost:9090"));
  static final StaticCredentialsProvider CREDENTIALS = StaticCredentialsProvider.create(
      AwsBasicCredentials.create(env("S3_ACCESS_KEY", "minio"), env("S3_SECRET_KEY", "miniosecret")));
  static final String[] ODD = {"with space", "plus+sign", "per%cent", "per%2Fcent", "é/日本", "quo'te\"",
      "a&b=c", "q?u#e", "tilde~(paren)!*$,;:@", "[brackets]{braces}", "back\\slash"};
  static S3Client s3;

  static final Map<String, Scenario> SCENARIOS = new LinkedHashMap<>();

  static {
    SCENARIOS.put("objects-go-round", Client::objects);
    SCENARIOS.put("multipart", Client::multipart);
    SCENARIOS.put("odd-names", Client::oddNames);
    SCENARIOS.put("lists-and-copies", Client::listsAndCopies);
    SCENARIOS.put("conditional-write", Client::conditionalWrite);
    SCENARIOS.put("presigned-urls", Client::presigned);
    SCENARIOS.put("versions-and-tags", Client::versionsAndTags);
  }

  public static void main(String[] words) {
    if (words.length == 1) {
      System.out.println(String.join("\n", SCENARIOS.keySet()));
      return;
    }
    s3 = S3Client.builder().endpointOverride(ENDPOINT).region(Region.US_EAST_1).forcePathStyle(true)
        .credentialsProvider(CREDENTIALS).build();
    SCENARIOS.forEach((name, scenario) -> {
      try {
        String bucket = "java-" + UUID.randomUUID();
        s3.createBucket(b -> b.bucket(bucket));
        scenario.run(bucket);
        System.out.println("passed " + name);
      } catch (Exception | AssertionError error) {
        System.out.println("failed " + name + ": " + error);
      }
    });
    System.exit(0); // the asynchronous client's threads would linger
  }

  static String env(String name, String otherwise) {
    return System.getenv().getOrDefault(name, otherwise);
  }

  static void expect(boolean holds, Object otherwise) {
    if (!holds) throw new AssertionError(String.valueOf(otherwise));
  }

  static byte[] random(int size) {
    byte[] body = new byte[size];
    new Random(size).nextBytes(body);
    return body;
  }

  static void put(String bucket, String key, String body) {
    s3.putObject(b -> b.bucket(bucket).key(key), RequestBody.fromString(body));
  }

  static String get(String bucket, String key) {
    return s3.getObjectAsBytes(b -> b.bucket(bucket).key(key)).asUtf8String();
  }

  static List<String> keys(String bucket, String prefix) {
    return s3.listObjectsV2Paginator(b -> b.bucket(bucket).prefix(prefix).maxKeys(3)).contents()
        .stream().map(S3Object::key).toList();
  }

  static void objects(String bucket) {
    byte[] body = random(100_000);
    s3.putObject(b -> b.bucket(bucket).key("a/b").contentType("image/png").metadata(Map.of("who", "me"))
        .checksumAlgorithm(ChecksumAlgorithm.SHA256), RequestBody.fromBytes(body));
    var head = s3.headObject(b -> b.bucket(bucket).key("a/b").checksumMode(ChecksumMode.ENABLED));
    expect(head.contentType().equals("image/png") && head.metadata().get("who").equals("me")
        && head.checksumSHA256() != null, head);
    expect(Arrays.equals(body, s3.getObjectAsBytes(b -> b.bucket(bucket).key("a/b")).asByteArray()), "body");
    byte[] piece = s3.getObjectAsBytes(b -> b.bucket(bucket).key("a/b").range("bytes=10-29")).asByteArray();
    expect(Arrays.equals(piece, Arrays.copyOfRange(body, 10, 30)), "range");
  }

  static void multipart(String bucket) {
    byte[] body = random(13 * MIB + 1);
    try (S3AsyncClient client = S3AsyncClient.builder().endpointOverride(ENDPOINT).region(Region.US_EAST_1)
        .forcePathStyle(true).credentialsProvider(CREDENTIALS).multipartEnabled(true)
        .multipartConfiguration(c -> c.minimumPartSizeInBytes(5L * MIB).thresholdInBytes(5L * MIB)).build()) {
      var stored = client.putObject(b -> b.bucket(bucket).key("large"), AsyncRequestBody.fromBytes(body)).join();
      expect(stored.eTag().contains("-3"), stored);
      var found = client.getObject(b -> b.bucket(bucket).key("large"), AsyncResponseTransformer.toBytes()).join();
      expect(Arrays.equals(body, found.asByteArray()), "body");
    }
  }

  static void oddNames(String bucket) {
    List<ObjectIdentifier> copies = new ArrayList<>();
    for (String key : ODD) {
      put(bucket, key, key);
      expect(get(bucket, key).equals(key), key);
      s3.copyObject(b -> b.sourceBucket(bucket).sourceKey(key).destinationBucket(bucket)
          .destinationKey("copy/" + key));
      copies.add(ObjectIdentifier.builder().key("copy/" + key).build());
    }
    List<String> found = keys(bucket, "copy/");
    expect(found.size() == ODD.length && found.containsAll(copies.stream().map(ObjectIdentifier::key).toList()),
        found);
    var deleted = s3.deleteObjects(b -> b.bucket(bucket).delete(d -> d.objects(copies)));
    expect(deleted.deleted().size() == ODD.length && keys(bucket, "copy/").isEmpty(), deleted);
  }

  static void listsAndCopies(String bucket) {
    for (String key : List.of("top", "dir/a", "dir/b", "dir/c", "dir/d", "dir/sub/e")) put(bucket, key, key);
    expect(keys(bucket, "dir/").equals(List.of("dir/a", "dir/b", "dir/c", "dir/d", "dir/sub/e")), "list");
    var level = s3.listObjectsV2(b -> b.bucket(bucket).prefix("dir/").delimiter("/"));
    expect(level.contents().size() == 4 && level.commonPrefixes().get(0).prefix().equals("dir/sub/"), level);
    s3.copyObject(b -> b.sourceBucket(bucket).sourceKey("top").destinationBucket(bucket).destinationKey("copy"));
    s3.deleteObject(b -> b.bucket(bucket).key("top"));
    expect(get(bucket, "copy").equals("top"), "copy");
    try {
      get(bucket, "top");
      throw new AssertionError("it is still there");
    } catch (NoSuchKeyException expected) {
      // gone
    }
  }

  static void conditionalWrite(String bucket) {
    s3.putObject(b -> b.bucket(bucket).key("once").ifNoneMatch("*"), RequestBody.fromString("first"));
    try {
      s3.putObject(b -> b.bucket(bucket).key("once").ifNoneMatch("*"), RequestBody.fromString("second"));
      throw new AssertionError("it was overwritten");
    } catch (S3Exception refused) {
      expect(refused.statusCode() == 412, refused);
    }
  }

  static void presigned(String bucket) throws Exception {
    try (S3Presigner signer = S3Presigner.builder().endpointOverride(ENDPOINT).region(Region.US_EAST_1)
        .credentialsProvider(CREDENTIALS)
        .serviceConfiguration(S3Configuration.builder().pathStyleAccessEnabled(true).build()).build()) {
      String key = "by url+ü";
      var upload = signer.presignPutObject(p -> p.signatureDuration(Duration.ofMinutes(1))
          .putObjectRequest(b -> b.bucket(bucket).key(key).contentType("text/plain")));
      HttpURLConnection put = (HttpURLConnection) upload.url().openConnection();
      put.setRequestMethod("PUT");
      put.setDoOutput(true);
      put.setRequestProperty("content-type", "text/plain");
      put.getOutputStream().write("by url".getBytes(StandardCharsets.UTF_8));
      expect(put.getResponseCode() == 200, put.getResponseCode());
      var download = signer.presignGetObject(p -> p.signatureDuration(Duration.ofMinutes(1))
          .getObjectRequest(b -> b.bucket(bucket).key(key)));
      String body = new String(download.url().openStream().readAllBytes(), StandardCharsets.UTF_8);
      expect(body.equals("by url"), body);
    }
  }

  static void versionsAndTags(String bucket) {
    s3.putBucketVersioning(b -> b.bucket(bucket)
        .versioningConfiguration(v -> v.status(BucketVersioningStatus.ENABLED)));
    var first = s3.putObject(b -> b.bucket(bucket).key("k").tagging("a=b"), RequestBody.fromString("first"));
    put(bucket, "k", "second");
    s3.deleteObject(b -> b.bucket(bucket).key("k"));
    var listed = s3.listObjectVersions(b -> b.bucket(bucket));
    expect(listed.versions().size() == 2 && listed.deleteMarkers().size() == 1, listed);
    String old = s3.getObjectAsBytes(b -> b.bucket(bucket).key("k").versionId(first.versionId())).asUtf8String();
    expect(old.equals("first"), old);
    var tags = s3.getObjectTagging(b -> b.bucket(bucket).key("k").versionId(first.versionId())).tagSet();
    expect(tags.size() == 1 && tags.get(0).key().equals("a"), tags);
  }
}
