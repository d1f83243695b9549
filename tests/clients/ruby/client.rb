# frozen_string_literal: true

# Every scenario in a bucket of its own, with S3_ENDPOINT, S3_ACCESS_KEY and S3_SECRET_KEY in the
# environment: the AWS SDK for Ruby 3 with its defaults, path style. Prints "passed NAME" or
# "failed NAME: why" for each; `--list` prints their names.

require "aws-sdk-s3"
require "net/http"
require "securerandom"
require "stringio"

MIB = 1 << 20
ODD = ["with space", "plus+sign", "per%cent", "per%2Fcent", "é/日本", "quo'te\"", "a&b=c", "q?u#e",
       "tilde~(paren)!*$,;:@", "[brackets]{braces}", "back\\slash"].freeze

def client
  @client ||= Aws::S3::Client.new(
    endpoint: ENV.fetch("S3_ENDPOINT"), region: "us-east-1", force_path_style: true,
    access_key_id: ENV.fetch("S3_ACCESS_KEY"), secret_access_key: ENV.fetch("S3_SECRET_KEY")
  )
end

def expect(holds, otherwise)
  raise otherwise.inspect unless holds
end

def put(bucket, key, body, **options)
  client.put_object(bucket: bucket, key: key, body: body, **options)
end

def get(bucket, key, **options)
  client.get_object(bucket: bucket, key: key, **options).body.read.b
end

def keys(bucket, prefix)
  client.list_objects_v2(bucket: bucket, prefix: prefix, max_keys: 3).flat_map { |page| page.contents.map(&:key) }
end

SCENARIOS = {
  "objects-go-round" => lambda do |bucket|
    body = Random.bytes(100_000)
    put(bucket, "a/b", body, content_type: "image/png", metadata: { "who" => "me" }, checksum_algorithm: "SHA256")
    head = client.head_object(bucket: bucket, key: "a/b", checksum_mode: "ENABLED")
    expect(head.content_type == "image/png" && head.metadata["who"] == "me" && head.checksum_sha256, head)
    expect(get(bucket, "a/b") == body, "body")
    expect(get(bucket, "a/b", range: "bytes=10-29") == body[10, 20], "range")
  end,
  "multipart" => lambda do |bucket|
    body = Random.bytes(13 * MIB + 1)
    object = Aws::S3::Resource.new(client: client).bucket(bucket).object("large")
    object.upload_stream(part_size: 5 * MIB) { |stream| stream.binmode && stream.write(body) }
    expect(object.etag.include?("-3"), object.etag)
    expect(object.get.body.read.b == body, "body")
  end,
  "odd-names" => lambda do |bucket|
    ODD.each do |key|
      put(bucket, key, key)
      expect(get(bucket, key).force_encoding("utf-8") == key, key)
      source = Aws::S3::Resource.new(client: client).bucket(bucket).object(key)
      source.copy_to(bucket: bucket, key: "copy/#{key}")
    end
    copies = ODD.map { |key| "copy/#{key}" }
    expect(keys(bucket, "copy/") == copies.sort, keys(bucket, "copy/"))
    deleted = client.delete_objects(bucket: bucket, delete: { objects: copies.map { |key| { key: key } } })
    expect(deleted.deleted.size == ODD.size && keys(bucket, "copy/").empty?, deleted)
  end,
  "lists-and-copies" => lambda do |bucket|
    %w[top dir/a dir/b dir/c dir/d dir/sub/e].each { |key| put(bucket, key, key) }
    expect(keys(bucket, "dir/") == %w[dir/a dir/b dir/c dir/d dir/sub/e], "list")
    level = client.list_objects_v2(bucket: bucket, prefix: "dir/", delimiter: "/")
    expect(level.common_prefixes.map(&:prefix) == ["dir/sub/"], level)
    client.copy_object(bucket: bucket, key: "copy", copy_source: "#{bucket}/top")
    client.delete_object(bucket: bucket, key: "top")
    begin
      get(bucket, "top")
      raise "it is still there"
    rescue Aws::S3::Errors::NoSuchKey
      expect(get(bucket, "copy") == "top", "copy")
    end
  end,
  "presigned-urls" => lambda do |bucket|
    object = Aws::S3::Resource.new(client: client).bucket(bucket).object("by url+ü")
    url = URI(object.presigned_url(:put, expires_in: 60))
    answer = Net::HTTP.start(url.host, url.port, nil) do |http|
      http.send_request("PUT", url.request_uri, "by url", "Content-Type" => "")
    end
    expect(answer.code == "200", answer.body)
    url = URI(object.presigned_url(:get, expires_in: 60))
    body = Net::HTTP.start(url.host, url.port, nil) { |http| http.get(url.request_uri).body }
    expect(body == "by url", body)
  end,
  "forms" => lambda do |bucket|
    form = Aws::S3::Resource.new(client: client).bucket(bucket)
                            .presigned_post(key_starts_with: "forms/", content_length_range: 1..100)
    fields = form.fields.merge("key" => "forms/a").map { |name, value| [name, value] }
    request = Net::HTTP::Post.new(URI(form.url))
    request.set_form(fields + [["file", StringIO.new("by form"), { filename: "a" }]], "multipart/form-data")
    answer = Net::HTTP.start(URI(form.url).host, URI(form.url).port, nil) { |http| http.request(request) }
    expect(answer.code == "204" && get(bucket, "forms/a") == "by form", answer.body)
  end,
  "versions-and-tags" => lambda do |bucket|
    client.put_bucket_versioning(bucket: bucket, versioning_configuration: { status: "Enabled" })
    first = put(bucket, "k", "first", tagging: "a=b")
    put(bucket, "k", "second")
    client.delete_object(bucket: bucket, key: "k")
    listed = client.list_object_versions(bucket: bucket)
    expect(listed.versions.size == 2 && listed.delete_markers.size == 1, listed)
    expect(get(bucket, "k", version_id: first.version_id) == "first", "version")
    tags = client.get_object_tagging(bucket: bucket, key: "k", version_id: first.version_id).tag_set
    expect(tags.map(&:key) == ["a"], tags)
  end
}.freeze

if ARGV == ["--list"]
  puts SCENARIOS.keys
  exit
end

SCENARIOS.each do |name, scenario|
  bucket = "ruby-#{SecureRandom.uuid}"
  client.create_bucket(bucket: bucket)
  scenario.call(bucket)
  puts "passed #{name}"
rescue StandardError => e
  puts "failed #{name}: #{e.class}: #{e.message}"
end
